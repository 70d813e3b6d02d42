"""The Python client of HAAS.

from haas_client import HaasClient

with HaasClient.from_env() as client:
    print(client.detect_intent("Planifica la campaña del cuarto trimestre").intent)
"""

from haas_client import errors
from haas_client.aio import AsyncHaasClient
from haas_client.client import HaasClient
from haas_client.errors import HaasError
from haas_client.operator import OperatorClient
from haas_client.settings import VERSION, SettingMissing

__version__ = VERSION

__all__ = ["AsyncHaasClient", "HaasClient", "HaasError", "OperatorClient", "SettingMissing", "__version__", "errors"]
