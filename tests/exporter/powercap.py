"""A powercap tree in a folder, whose counters count as the hardware's do: in steps, 32 bits wide."""

from pathlib import Path

RECORDED = Path(__file__).with_name("recorded") / "powercap"
STEPS = 2**32


class Powercap:
    """The tree of one recorded machine below ``sysfs``; a test moves its counters as the processor would."""

    def __init__(self, sysfs: Path, machine: str) -> None:
        self.sysfs = sysfs
        self.tree = sysfs / "class/powercap"
        for line in (RECORDED / f"{machine}.txt").read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                path, _, value = line.partition(" ")
                (self.tree / path).parent.mkdir(parents=True, exist_ok=True)
                (self.tree / path).write_text(f"{value:<20}\n", encoding="utf-8")
        # Nanojoules of one step: the kernel shows 2**32 - 1 of them as the largest value.
        self._units = {zone: -(-self.largest(zone) * 1000 // (STEPS - 1)) for zone in self.zones()}
        self.use(0.0)  # to a whole number of steps

    def zones(self) -> list[str]:
        """Return the folders that have a counter."""
        return sorted(folder.parent.name for folder in self.tree.glob("*/energy_uj"))

    def counter(self, zone: str) -> Path:
        return self.tree / zone / "energy_uj"

    def largest(self, zone: str) -> int:
        return int((self.tree / zone / "max_energy_range_uj").read_text())

    def use(self, joules: float, *zones: str) -> None:
        """Let zones (all if none is named) use energy: their counters rise, and wrap where the hardware's would."""
        for zone in zones or self.zones():
            unit = self._units[zone]
            steps = -(-int(self.counter(zone).read_text()) * 1000 // unit) + round(joules * 1e9 / unit)
            self.show(zone, steps % STEPS * unit // 1000)

    def show(self, zone: str, microjoules: int) -> None:
        """Write a counter over in place, for sysfs keeps the file that is open, and at once, as the kernel reads it."""
        with self.counter(zone).open("r+b", buffering=0) as file:
            file.write(f"{microjoules:<20}\n".encode("ascii"))

    def remove(self, zone: str) -> None:
        for file in (self.tree / zone).iterdir():
            file.unlink()
        (self.tree / zone).rmdir()
