"""The base of all settings: frozen, and closed to keys it does not know.

Each component declares its own settings beside itself; a recipe only puts them together.
"""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A frozen table of settings; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
