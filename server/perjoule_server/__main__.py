"""``inference-server``: reads the command line, picks device and models, and serves until a signal."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from perjoule.errors import MissingExtraError, PerjouleError
from perjoule_server.config import ServerConfig, from_arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    try:
        config = from_arguments(argv)
        _serve(config)
    except PerjouleError as error:
        print(f"inference-server: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:  # before the server handles signals itself
        return 130
    return 0


def _serve(config: ServerConfig) -> None:
    try:
        from perjoule_server import models

        models.go_offline()  # before the libraries are imported
        specs = models.located(models.profile(config.models, config.tasks), config.dtype, allow_bin=config.allow_bin)
        if config.compile:
            specs = [replace(spec, options={**spec.options, "compile": True}) for spec in specs]
        import torch

        from perjoule_server import energy, program
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("perjoule"):
            raise
        raise MissingExtraError("inference-server", "server", error.name or "?") from error
    program.set_up_logging(config.log_level)
    with program.listen(config.host, config.port) as listener:
        torch.set_num_threads(config.torch_threads)
        device = energy.resolve(config.device, config.energy_device)
        load = partial(models.load, device=device.torch, allow_bin=config.allow_bin)
        program.Process(config, specs, device, load).run(listener)


if __name__ == "__main__":
    sys.exit(main())
