"""Settings of the processes that train."""

from typing import Literal

from shotcount.core.params import Count, Section


class ParallelSettings(Section):
    threads: Count
    networks: Count | Literal["auto"]
    processes: Count | Literal["auto"]
    batch_share: Count
    from_photos: Count
