"""One call of the model: the images it has prefilled, and whether to go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Self

from torch import Tensor

from laser_tools.errors import Cancelled
from laser_tools.images.upright import UprightImage
from laser_tools.progress import StageName
from laser_tools.stop import ShouldStop, never
from laser_tools.vlm.budget import NO_LIMIT, Budget, fitting_size
from laser_tools.vlm.model import VLM
from laser_tools.vlm.passes import counted
from laser_tools.vlm.prefix_cache import Key, LookKey, Segment
from laser_tools.vlm.stages import Observer, Unobserved
from laser_tools.vlm.weights_state import weights_state


class ModelCall:
    """One batch of requests, served under the model's lock.

    What it prefills serves all its passes. Of that, only `images` outlive it, in the model's
    prefix cache: they may be asked about again, while crops and masked views will hardly be.

    The model sees at most `budget` of an image: methods hold images as they came, and what is read
    are smaller copies of those that would take more.

    Images are told apart by their `sha256`: salted ones share nothing with others, so that whoever
    asks with one salt cannot tell, by hits or time, what was asked with another.
    """

    def __init__(
        self,
        vlm: VLM,
        images: Sequence[UprightImage] = (),
        should_stop: ShouldStop = never,
        observer: Observer | None = None,
        budget: Budget = NO_LIMIT,
    ) -> None:
        self.vlm = vlm
        self.budget = budget
        self.observer = observer or Unobserved(len(images))
        self._items: Sequence[int] = range(len(images))
        self.passes = [0] * len(images)  # forward passes of the model that a request took part in
        vlm.prefixes.hold_for(weights_state(vlm.model))
        self.should_stop = should_stop
        self._held: dict[Key, Segment] = {}
        self._looks: dict[LookKey, Tensor] = {}
        self._reused: set[Key] = set()
        self._own = frozenset(image.sha256 for image in images)
        self._shown: dict[str, UprightImage] = {}  # by the sha256 of the image they show
        self._kept = set(self._own)

    def of(self, items: Sequence[int]) -> Self:
        """The same call, whose stages and passes are charged to the requests `items` (indices)."""
        part = copy(self)
        part._items = tuple(items)
        return part

    @contextmanager
    def stage(self, name: StageName) -> Iterator[None]:
        """Around one of `STAGES`; every pass is made in one."""
        with counted(self.vlm.model) as made, self.observer.stage(name, self._items):
            yield
        for item in self._items:
            self.passes[item] += made.n

    def check(self) -> None:
        """Raise Cancelled once the caller no longer waits, or what its `should_stop` raises."""
        if self.should_stop():
            raise Cancelled

    def shown(self, image: UprightImage) -> UprightImage:
        """The image as the model is to see it: itself, or a copy that is made once."""
        is_part = image.cropped and image.sha256 not in self._own
        most = self.budget.crop if is_part else self.budget.whole
        if most is None:
            return image
        if image.sha256 not in self._shown:
            copy = image.smaller(fitting_size(self.vlm, image.size, most))
            self._shown[image.sha256] = copy
            if image.sha256 in self._own:
                self._kept.add(copy.sha256)
        return self._shown[image.sha256]

    def get(self, key: Key) -> Segment | None:
        """The segment, from this call or an earlier one."""
        if key not in self._held:
            found = self.vlm.prefixes.get(key)
            if found is None:
                return None
            self._held[key] = found
            self._reused.add(key)
        return self._held[key]

    def put(self, key: Key, segment: Segment) -> None:
        """Hold `segment` to the end of the call, and longer if the caller may ask for it again."""
        self._held[key] = segment
        if len(key) == 1 and key[0][1] in self._kept:
            self.vlm.prefixes.put(key, segment)

    def look(self, key: LookKey) -> Tensor | None:
        """The attention of the prompt `key`, from this call or an earlier one."""
        if key not in self._looks:
            found = self.vlm.prefixes.get_look(key)
            if found is None:
                return None
            self._looks[key] = found
        return self._looks[key]

    def put_look(self, key: LookKey, attention: Tensor) -> None:
        """Hold what a prompt attends to, as `put` does."""
        self._looks[key] = attention
        if self._kept.issuperset(key[0]):
            self.vlm.prefixes.put(key, attention)

    def hits(self, image: UprightImage) -> int:
        """Prefixes of `image` that an earlier call had left."""
        seen = self._shown.get(image.sha256, image).sha256
        return sum(key[0][1] == seen for key in self._reused)
