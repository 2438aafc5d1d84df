"""What runs inside the sandbox: a process of its own, from the standard library alone. Nothing here imports genjax.

Four processes stand behind each program: the caller (`launch.py`, outside), the *supervisor*, the *tester* and the *program*.
The supervisor shuts itself into namespaces, starts the other two, keeps time and ends everything. The tester holds the tests and
runs them; the program holds the untrusted code and knows neither the tests nor the pipe that carries the verdict. Between them go
calls and plain data (`wire.py`), so a program passes by its answers and by nothing else.
"""
