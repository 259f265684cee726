"""The project's command line, and a code location, for the eight: for tests to which the rows matter.

python -m analytics_assets_tests.support.eight_commands check
dagster asset materialize --select "*" -m analytics_assets_tests.support.eight_commands
"""

import dagster as dg

from analytics_assets import commands
from analytics_assets.__main__ import main
from analytics_assets.project import use_project_config
from analytics_assets_tests.support import eight


@dg.definitions
def defs() -> dg.Definitions:
    use_project_config()
    return eight.defs()


commands.__dict__.update(NAMES=eight.NAMES, defs=defs)

if __name__ == "__main__":
    main()
