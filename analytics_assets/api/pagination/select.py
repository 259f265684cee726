"""Chooses the pagination of a listing."""

from typing import Any

from analytics_assets.api.catalog import Resource
from analytics_assets.api.dialects.base import ById, ByOffset
from analytics_assets.api.http.request import ApiRequest
from analytics_assets.api.pagination.base import Pagination
from analytics_assets.api.pagination.by_dlt import DltPagination
from analytics_assets.api.pagination.by_id import LastIdPagination, SmallestIdPagination
from analytics_assets.api.pagination.offset import OffsetPagination
from analytics_assets.api.pagination.single import SinglePage
from analytics_assets.api.settings import Settings


def start_pagination(resource: Resource, settings: Settings, start: ApiRequest) -> Pagination[Any]:
    """Returns the pagination of a new listing of a resource, as its endpoint declares it.

    Args:
        resource: The resource to list.
        settings: Hold the page size and the limit of pages.
        start: The request that the listing begins with, without what the pagination adds.
    """
    endpoint = settings.endpoint(resource.name)
    match endpoint.pagination:
        case ByOffset() as by_offset:
            return OffsetPagination(resource, by_offset, settings, start)
        case ById(descending=True) as by_id:
            return SmallestIdPagination(resource, by_id, settings, start)
        case ById() as by_id:
            return LastIdPagination(resource, by_id, settings, start)
        case None:
            return SinglePage(start)
    return DltPagination(resource, endpoint.pagination, settings, start)
