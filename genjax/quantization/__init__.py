"""From vectors to finitely many of them: bottlenecks of autoencoders, each a small module that knows no network around it."""
