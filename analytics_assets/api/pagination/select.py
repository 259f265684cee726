"""Chooses the pagination of a listing."""

from analytics_assets.api.catalog import Resource
from analytics_assets.api.dialects.base import ById, ByOffset
from analytics_assets.api.pagination.base import Pagination
from analytics_assets.api.pagination.by_id import LastIdPagination, SmallestIdPagination
from analytics_assets.api.pagination.offset import OffsetPagination
from analytics_assets.api.pagination.single import SinglePage
from analytics_assets.api.settings import Settings


def start_pagination(resource: Resource, settings: Settings) -> Pagination:
    """Returns the pagination of a new listing of a resource, as its endpoint declares it."""
    match settings.endpoint(resource.name).pagination:
        case ByOffset() as by_offset:
            return OffsetPagination(resource, by_offset, settings)
        case ById(descending=True) as by_id:
            return SmallestIdPagination(resource, by_id, settings)
        case ById() as by_id:
            return LastIdPagination(resource, by_id, settings)
    return SinglePage()
