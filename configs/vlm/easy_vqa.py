"""Questions about simple shapes: the image as a prefix of the GPT's text (as LLaVA sees).

    GENJAX_DATA=DATA python train.py --config=configs/vlm/easy_vqa.py --workdir=runs/vqa
    python sample.py --workdir=runs/vqa --image=picture.png --prompt="what color is the shape?"
    python sample.py --workdir=runs/vqa --image=picture.png --prompt="what color is the shape?" --attention=seen.png
    python -m genjax.sampling.question_evaluation --workdir=runs/vqa --out=answers

Hardware: two CPU cores, about 45 minutes (0.7 GFLOP an example, 44 a step). At or above 90 % exact match on questions about
images that were held out; not yet measured.
"""

from visual_questions import recipe


def get_config():
    return recipe("prefix", steps=4000)
