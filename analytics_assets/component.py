"""The connector as a Dagster component: the definitions of `build_definitions`, from attributes in a `defs.yaml`."""

import importlib
from dataclasses import replace

import dagster as dg
from pydantic import Field

from analytics_assets.api.connector import SHIPPED, Connector
from analytics_assets.api.http.origin import origin_of
from analytics_assets.api.mistakes import check_catalog
from analytics_assets.api.settings import DEMO
from analytics_assets.definitions import build_definitions
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.names import name_all
from analytics_assets.defs.reports.assets import REPORTS


class ComponentError(ValueError):
    """An attribute of the component that does not fit the connector."""


class AnalyticsApiComponent(dg.Component, dg.Model, dg.Resolvable):
    """Loads a REST API into a warehouse by dlt: assets, checks, jobs, schedules, freshness policies and alerts.

    Without attributes it loads a built-in demo API into DuckDB. Everything that is no attribute, secrets above all, is
    dlt's configuration: `.dlt/secrets.toml`, `.dlt/config.toml` and the environment, in `config_section`.
    """

    name: str | None = Field(
        default=None,
        description="Begins the names of jobs, ops, sensors and pipelines, and is the default of most names below. Give"
        " each component of a code location another one: for each tenant, or for each API.",
        examples=["acme"],
    )
    connector: str = Field(
        default="analytics_assets.api.connector.SHIPPED",
        description="Where Python finds the connector, which has the resources and dialects of an API.",
        examples=["my_project.crm.CRM"],
    )
    base_url: str | None = Field(
        default=None,
        description="Base URL of the API, or demo for the built-in one. By default the setting base_url.",
        examples=["https://api.example.com"],
    )
    dialect: str | None = Field(
        default=None,
        description="Wire format of the API. By default the setting dialect, or the connector's first.",
        examples=["ninjaone"],
    )
    resources: list[str] | None = Field(
        default=None, description="Which resources to load. By default all of the connector.", examples=[["groups"]]
    )
    sync_cron: str | None = Field(
        default=None,
        description="Cron of the incremental sync, from which freshness policies follow. By default hourly.",
        examples=["*/15 * * * *"],
    )
    reconcile_cron: str | None = Field(
        default=None, description="Cron of the full re-read. By default weekly.", examples=["30 3 * * 0"]
    )
    resource_crons: dict[str, str] | None = Field(
        default=None,
        description="Crons of single resources, by name. By default those in schedules.resources of dlt's"
        " configuration, or that of the sync.",
        examples=[{"groups": "30 6 * * *"}],
    )
    asset_prefix: list[str] | None = Field(
        default=None, description="Asset keys are [*asset_prefix, resource]. By default the name.", examples=[["crm"]]
    )
    group: str | None = Field(default=None, description="Asset group. By default <name>_api.")
    owner: str | None = Field(default=None, description="Owner of the assets: team:... or an email address.")
    dataset: str | None = Field(default=None, description="Schema of the tables. By default the name.")
    config_section: str | None = Field(
        default=None, description="Section of dlt's configuration with the settings. By default sources.<name>."
    )
    docs_url: str | None = Field(default=None, description="Documentation of the API, to which assets link.")
    resource_key: str | None = Field(default=None, description="Key of the Dagster resource. By default the name.")
    pool: str | None = Field(
        default=None,
        description="Concurrency pool of all steps that open the warehouse. By default analytics_warehouse.",
    )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002 - Dagster's signature
        """Returns the definitions.

        Raises:
            CatalogError: The connector or a name has mistakes.
            ComponentError: `connector` names no connector; `resources` or `dialect` something that it does not have;
                or `base_url` is none.
            ScheduleConfigError: A cron is not valid, or names no resource.
            SettingsError: A setting names something that the connector does not have, or does not fit it.
        """
        connector = self._connector()
        self._check_settings(connector)

        def is_shipped(name: str) -> bool:
            return name in connector.by_name and connector.by_name[name] == SHIPPED.by_name.get(name)

        names = name_all(
            connector,
            prefix=tuple(self.asset_prefix or ()),
            group=self.group,
            owner=self.owner,
            resource_key=self.resource_key,
            pool=self.pool,
        )
        return build_definitions(
            names,
            resource=AnalyticsResource(base_url=self.base_url, dialect=self.dialect),
            sync_cron=self.sync_cron,
            reconcile_cron=self.reconcile_cron,
            resource_crons=self.resource_crons,
            # The reports read tables of the shipped connector, and of no other that happens to have such a name.
            reports=[report for report in REPORTS if all(map(is_shipped, report.inputs))],
        )

    def _check_settings(self, connector: Connector) -> None:
        if self.dialect and self.dialect not in connector.dialects_by_name:
            known = ", ".join(connector.dialects_by_name)
            raise ComponentError(f"dialect: {self.dialect!r:.60} is unknown. {connector.name} has {known}.")
        # Its value is not shown, as it may carry credentials. All other settings are checked when a run reads them.
        if self.base_url and self.base_url != DEMO and origin_of(self.base_url.strip()) is None:
            raise ComponentError("base_url: it is not a URL such as https://api.example.com, nor demo.")

    def _connector(self) -> Connector:
        module, _, attribute = self.connector.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise ComponentError(f"connector: {self.connector!r} cannot be imported: {error}.") from error
        if not isinstance(found, Connector):
            raise ComponentError(f"connector: {self.connector!r} is no Connector but a {type(found).__name__}.")
        check_catalog(found)
        if self.resources is not None:
            try:
                found = found.only(self.resources)
            except ValueError as error:
                raise ComponentError(f"resources: {error}") from error
        return replace(
            found,
            name=self.name or found.name,
            dataset_name=self.dataset or found.dataset_name,
            config_section=self.config_section or found.config_section,
            docs_url=self.docs_url or found.docs_url,
        )
