"""`python -m diffucoder` is `kedro run` for this project, from any folder."""

import sys

from kedro.framework.cli.utils import find_run_command
from kedro.framework.project import configure_project


def main() -> None:
    """Run the pipelines that the command line names."""
    configure_project("diffucoder")
    find_run_command("diffucoder")(sys.argv[1:], standalone_mode=True)


if __name__ == "__main__":
    main()
