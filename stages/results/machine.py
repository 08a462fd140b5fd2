"""What a measurement depends on besides its inputs."""

from pydantic import ConfigDict, Field

from stages.results.base import Count, Measured


class CpuFacts(Measured):
    """Model, logical cores, and the instruction sets that decide which kernels a runtime picks."""

    model: str | None = None
    cores: Count | None = None
    flags: tuple[str, ...] = ()


class GpuFacts(Measured):
    """NVIDIA's GPUs in PCI order; `visible` is CUDA_VISIBLE_DEVICES."""

    names: tuple[str, ...] = ()
    driver: str | None = None
    jetson_linux: str | None = None
    visible: str | None = None


class MachineFacts(Measured):
    """Processor, GPU and versions; facts of another version are kept."""

    model_config = ConfigDict(extra="allow")

    python: str | None = None
    platform: str | None = None
    machine: str | None = None
    cpu: CpuFacts = Field(default_factory=CpuFacts)
    gpu: GpuFacts = Field(default_factory=GpuFacts)
    packages: dict[str, str] = Field(default_factory=dict)

    def hardware(self) -> tuple[str | None, CpuFacts, GpuFacts]:
        """What must be equal where two latencies are compared."""
        return self.machine, self.cpu, self.gpu
