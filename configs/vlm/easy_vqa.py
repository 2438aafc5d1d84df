"""Questions about simple shapes: the image as a prefix of the GPT's text (as LLaVA sees).

    GENJAX_DATA=DATA python train.py --config=configs/vlm/easy_vqa.py --workdir=runs/vqa
    python sample.py --workdir=runs/vqa --image=picture.png --prompt="what color is the shape?"
    python sample.py --workdir=runs/vqa --image=picture.png --prompt="what color is the shape?" --attention=seen.png
    python -m genjax.sampling.question_evaluation --workdir=runs/vqa --out=answers

Hardware: two CPU cores, about 50 minutes (0.7 GFLOP an example, 44 a step). Measured: 99.4 % exact match on 3,853 questions
about images that were held out (benchmarks/RESULTS.md).
"""

from visual_questions import recipe


def get_config():
    return recipe("prefix", steps=4000)
