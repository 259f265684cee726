"""The project's command line, and a code location, for the eight: for tests to which the rows matter.

python -m analytics_assets_tests.support.eight_commands check
dagster asset materialize --select "*" -m analytics_assets_tests.support.eight_commands
"""

import dagster as dg

from analytics_assets import commands
from analytics_assets.__main__ import main
from analytics_assets.api.configured import configure
from analytics_assets.defs.names import Names, name_all
from analytics_assets.project import use_project_config
from analytics_assets_tests.support import eight


@dg.definitions
def defs() -> dg.Definitions:
    use_project_config()
    return eight.defs()


def project_names() -> Names:
    use_project_config()
    return name_all(configure(eight.EIGHT))


commands.__dict__.update(project_names=project_names, defs=defs)

if __name__ == "__main__":
    main()
