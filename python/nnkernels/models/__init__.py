"""Networks of other libraries: a module for each source fills a ``Chain``; ``to_onnx`` writes them; the others help."""
