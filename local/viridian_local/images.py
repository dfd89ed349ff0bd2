"""Building images when their content has changed, and giving them to the running cluster."""

from collections.abc import Iterable

from viridian_local import base, buildah, oci
from viridian_local.catalogue import Image
from viridian_local.containers import image_digests
from viridian_local.paths import Paths, cache_dir
from viridian_local.progress import step
from viridian_local.scratch import scratch


def build(images: Iterable[Image]) -> None:
    """Build each image whose content is not in the cache."""
    for image in images:
        if oci.find(_tag(image)) is None:
            _build(image)


def build_and_load(paths: Paths, images: Iterable[Image]) -> None:
    """Build and load one after the other, so that what could be built can be used even if a later one fails."""
    for image in images:
        build([image])
        load(paths, [image])


def load(paths: Paths, images: Iterable[Image]) -> None:
    """Give containerd each image that it does not have with this content."""
    known = image_digests(paths)
    for image in images:
        descriptor = oci.find(_tag(image))
        have = {known.get(reference) for reference in image.references()}
        if descriptor is None or have != {descriptor["digest"]}:
            with step(f"Importing {image.references()[0]}"):
                oci.import_image(paths, _tag(image), image.references())


def _tag(image: Image) -> str:
    return f"{image.name}-{image.key()}"


def _build(image: Image) -> None:
    arguments = {"BASE": base.ensure(image.base)} if image.base else {}
    local = f"localhost/viridian-{image.name}:latest"
    with step(f"Building the image {image.name}") as running, scratch(cache_dir()) as context:
        buildah.forget_failures()
        image.fill(context)
        buildah.build(context / "Containerfile", context, local, arguments, running)
        buildah.push(local, _tag(image), running)
    oci.forget_others(image.name, _tag(image))
