"""How each kind of model is looked into: what it asks for, and how one pass of it becomes a scene."""
