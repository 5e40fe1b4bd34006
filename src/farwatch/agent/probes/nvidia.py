"""NVIDIA GPUs, through NVML. A machine without them, or with a broken driver, has no GPU metrics and no error."""

import ctypes
import logging
import sys
from typing import Any

LOG = logging.getLogger("farwatch.agent")
LIBRARY = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
FAILURES_MAX = 5  # samples in a row without any answer, after which the driver is left alone


class NvidiaProbe:
    """All GPUs that this machine shows: `gpu/0/utilization` and `gpu/0/memory_percent` in percent,
    `gpu/0/memory_bytes`, `gpu/0/power_w`, `gpu/0/temperature_c`."""

    def __init__(self, nvml: Any = None) -> None:
        """`nvml`: the module `pynvml`; None: if there is a driver and the module."""
        self._nvml = nvml if nvml is not None else _find_nvml()
        self._devices: list[Any] = []
        self._failures = 0
        if self._nvml is None:
            return
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            LOG.info("no GPU metrics: %s", error)
            self._nvml = None
            return
        try:
            self._devices = [
                self._nvml.nvmlDeviceGetHandleByIndex(n) for n in range(self._nvml.nvmlDeviceGetCount())
            ]
        except self._nvml.NVMLError as error:
            LOG.info("no GPU metrics: %s", error)
            self.close()

    def sample(self, mono_us: int) -> dict[str, float]:
        values: dict[str, float] = {}
        for number, device in enumerate(self._devices):
            for name, value in self._read(device):
                values[f"gpu/{number}/{name}"] = value
        if self._devices:
            self._failures = 0 if values else self._failures + 1
            if self._failures >= FAILURES_MAX:
                LOG.info("the GPU driver no longer answers")
                self.close()
        return values

    def close(self) -> None:
        nvml, self._nvml = self._nvml, None
        self._devices = []
        if nvml is not None:
            try:
                nvml.nvmlShutdown()
            except nvml.NVMLError as error:
                LOG.info("the GPU driver did not close: %s", error)

    def _read(self, device: Any) -> list[tuple[str, float]]:
        nvml = self._nvml
        found: list[tuple[str, float]] = []
        for read in (self._utilization, self._memory, self._power, self._temperature):
            try:
                found += read(nvml, device)
            except nvml.NVMLError:
                continue  # many devices do not tell everything: a slice of a GPU has no power of its own
        return found

    @staticmethod
    def _utilization(nvml: Any, device: Any) -> list[tuple[str, float]]:
        return [("utilization", float(nvml.nvmlDeviceGetUtilizationRates(device).gpu))]

    @staticmethod
    def _memory(nvml: Any, device: Any) -> list[tuple[str, float]]:
        told = nvml.nvmlDeviceGetMemoryInfo(device)
        return [
            ("memory_bytes", float(told.used)),
            ("memory_percent", 100 * float(told.used) / float(told.total or 1)),
        ]

    @staticmethod
    def _power(nvml: Any, device: Any) -> list[tuple[str, float]]:
        return [("power_w", nvml.nvmlDeviceGetPowerUsage(device) / 1000)]

    @staticmethod
    def _temperature(nvml: Any, device: Any) -> list[tuple[str, float]]:
        return [("temperature_c", float(nvml.nvmlDeviceGetTemperature(device, nvml.NVML_TEMPERATURE_GPU)))]


def _find_nvml() -> Any:
    try:
        ctypes.CDLL(LIBRARY)  # the Python module is large: imported only where there is a driver
        import pynvml
    except (OSError, ImportError):
        return None
    return pynvml
