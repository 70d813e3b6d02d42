"""Which fields of a model are marked as personal, however deep they stand."""

import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from haas_common.events.base import PERSONAL, Payload


def personal_paths_of(model: type[Payload]) -> tuple[tuple[str, ...], ...]:
    """Returns the paths of a model's personal fields, in the order of its fields; "*" for a list's items."""
    return tuple(_in_model(model, ()))


def parts_of(annotation: Any) -> Iterator[tuple[tuple[str, ...], type[Payload]]]:
    """Yields the models that a field's annotation holds, with the path to them from the field."""
    if isinstance(annotation, type) and issubclass(annotation, Payload):
        yield (), annotation
    elif get_origin(annotation) is Annotated:
        yield from parts_of(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for choice in get_args(annotation):
            yield from parts_of(choice)
    elif get_origin(annotation) is list:
        for path, model in parts_of(get_args(annotation)[0]):
            yield ("*", *path), model


def models_of(model: type[Payload]) -> Iterator[type[Payload]]:
    """Yields a model and all that its fields are made of."""
    yield model
    for field in model.model_fields.values():
        for _, inner in parts_of(field.annotation):
            yield from models_of(inner)


def _in_model(model: type[Payload], above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        here = (*above, name)
        if PERSONAL in field.metadata or _is_marked(field.annotation):
            yield here
            continue
        for path, inner in parts_of(field.annotation):
            yield from _in_model(inner, (*here, *path))


def _is_marked(annotation: Any) -> bool:
    """Tells whether a choice of an annotation ("… | None") carries the mark."""
    if get_origin(annotation) is Annotated:
        return PERSONAL in get_args(annotation)[1:]
    if get_origin(annotation) in (Union, types.UnionType):
        return any(_is_marked(choice) for choice in get_args(annotation))
    return False
