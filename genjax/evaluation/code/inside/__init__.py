"""What runs inside the sandbox: a process of its own, from the standard library alone. Nothing here imports genjax.

Three processes stand behind each program, forked from a server (`server.py`) that `launch.py` starts. The *supervisor* shuts
itself into namespaces, starts the other two, keeps time and ends everything. The *tester* holds the tests and runs them. The
*program* holds the untrusted code and knows neither the tests nor the pipe that carries the verdict. Between tester and program
go calls and plain data (`wire.py`), so a program passes by its answers and by nothing else.
"""
