"""What heedful has in common with other libraries: their models, looked into where they are.

`heedful.observe` hears them once this is imported, which `import heedful` sees to.
"""

from heedful.attention.observe import SOURCES
from heedful.interop.hugging_face import listening_to_transformers

SOURCES.append(listening_to_transformers)

__all__ = ["listening_to_transformers"]
