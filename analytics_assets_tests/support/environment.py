"""Variables of the environment that configure the project."""

CONFIGURED_BY = (
    "SOURCES__",
    "DESTINATION",
    "RUNTIME__",
    "LOAD__",
    "SCHEDULES__",
    "EXECUTION__",
    "ALERTS__",
    "DLT_",
    "DAGSTER_",
    "API_KEY",
    "START_DATE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "COLUMNS",
)
