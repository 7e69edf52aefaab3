"""AMD SMI's packages of other versions: what their answers were called, and what they left to the caller."""

from pathlib import Path

from tests.exporter.running import StartExporter, wait_until

OLD_PACKAGE = """
import ctypes, enum, time
class AmdSmiException(Exception): pass
class AmdSmiLibraryException(AmdSmiException):
    def get_error_code(self): return 2
class AmdSmiClkType(enum.IntEnum): GFX = 0; MEM = 4; VCLK0 = 6
class AmdSmiTemperatureType(enum.IntEnum): EDGE = 0; HOTSPOT = 1
class AmdSmiTemperatureMetric(enum.IntEnum): CURRENT = 0
class AmdSmiMemoryType(enum.IntEnum): VRAM = 0
def amdsmi_init(): pass
def amdsmi_shut_down(): pass
def amdsmi_get_processor_handles(): return [ctypes.c_void_p(1)]
def amdsmi_get_gpu_device_uuid(handle): return "old"
def amdsmi_get_gpu_device_bdf(handle): return "0000:01:00.0"
def amdsmi_get_gpu_asic_info(handle): return {"market_name": "N/A"}
def amdsmi_get_gpu_driver_info(handle): return {"driver_name": "amdgpu"}
def amdsmi_get_energy_count(handle):
    return {"power": int(time.time() * 100e6 / 15.3), "counter_resolution": 15.3, "timestamp": 0}
def amdsmi_get_power_info(handle):
    return {"current_socket_power": 65535, "average_socket_power": 100, "gfx_voltage": 65535}
def amdsmi_get_power_cap_info(handle): return {"power_cap": 290}
def amdsmi_get_gpu_activity(handle): return {"gfx_activity": "N/A"}
def amdsmi_get_gpu_memory_usage(handle, kind): return 2**64 - 1
def amdsmi_get_gpu_memory_total(handle, kind): raise AmdSmiLibraryException
def amdsmi_get_temp_metric(handle, sensor, metric): return 41
def amdsmi_get_clock_info(handle, kind): return {"cur_clk": 1502 if kind == 0 else 4294967295, "max_clk": 1502}
"""
"""The answers of amdsmi 6.1, where energy was called ``power`` and the largest numbers were left as they are."""


def test_the_answers_of_older_packages_are_understood(start_exporter: StartExporter, tmp_path: Path) -> None:
    """Energy under its old name is counted; numbers that stand for none are absent, and so is a name that is "N/A"."""
    (tmp_path / "amdsmi.py").write_text(OLD_PACKAGE)
    exporter = start_exporter("--meter", "amd", environment={"PYTHONPATH": str(tmp_path)}).ready()
    wait_until(lambda: (exporter.scrape().value("gpu_energy_joules_total") or 0.0) > 10, "10 J at 100 W")
    scrape = exporter.scrape()
    assert scrape.value("gpu_info", uuid="old", method="counter", driver="") == 1
    assert 'name=""' in scrape.text
    assert (scrape.value("gpu_power_watts"), scrape.value("gpu_power_average_watts")) == (None, 100.0)
    assert scrape.value("gpu_power_limit_watts") == 290
    assert [(s.labels["domain"], s.value) for s in scrape.samples if s.name == "gpu_clock_hertz"] == [
        ("graphics", 1.502e9)
    ]
    assert not {"gpu_utilization_ratio", "gpu_memory_used_bytes", "gpu_memory_total_bytes"} & scrape.names()
