"""The preset of the paper: its values for every setting that is not given."""

from dataclasses import dataclass

from mincurate.errors import UserError

PRESETS = ("paper",)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Settings with a preset.

    Attributes:
        preset: ``paper`` takes the values of "Don't Play Favorites" (ICLR 2024) for what is not
            given.
    """

    preset: str | None = None

    @property
    def paper(self) -> bool:
        """Whether the paper's values stand in for what is not given.

        Raises:
            UserError: there is no such preset.
        """
        if self.preset not in (None, *PRESETS):
            raise UserError(f"There is no preset {self.preset!r}: take {', '.join(PRESETS)}.")
        return self.preset == "paper"
