"""Networks of other libraries: one module a source, each of which fills a ``Chain``."""
