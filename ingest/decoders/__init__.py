"""The formats: one module or folder per producer, loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import Final, cast

from ingest.decoders.base import CHUNK_ROWS, RECORD_BYTES_MAX, Decoded, Decoder, Event
from schemas.errors import ConfigurationError

__all__ = ["CHUNK_ROWS", "FORMATS", "RECORD_BYTES_MAX", "Decoded", "Decoder", "Event", "decoder"]

FORMATS: Final[dict[str, str]] = {
    "csv": "ingest.decoders.canonical.csv:CanonicalCsv",
    "ndjson": "ingest.decoders.canonical.ndjson:CanonicalNdjson",
    "arrow": "ingest.decoders.canonical.arrow:CanonicalArrow",
    "parquet": "ingest.decoders.canonical.arrow:CanonicalParquet",
    "asterisk-csv": "ingest.decoders.asterisk.cdr:AsteriskCsv",
    "asterisk-custom": "ingest.decoders.asterisk.cdr:AsteriskCustom",
    "asterisk-cel": "ingest.decoders.asterisk.cel:AsteriskCel",
    "freeswitch-json": "ingest.decoders.freeswitch.json_cdr:FreeswitchJson",
    "freeswitch-xml": "ingest.decoders.freeswitch.xml_cdr:FreeswitchXml",
    "freeswitch-csv": "ingest.decoders.freeswitch.csv_cdr:FreeswitchCsv",
    "kamailio-acc": "ingest.decoders.kamailio.acc:KamailioAcc",
    "kamailio-json": "ingest.decoders.kamailio.json:KamailioJson",
    "3gpp-32297": "ingest.decoders.threegpp.file:Threegpp32297",
    "3gpp-ber": "ingest.decoders.threegpp.bare:ThreegppBer",
    "opensips-acc": "ingest.decoders.kamailio.opensips:OpensipsAcc",
    "tap3": "ingest.decoders.tap3.transfer_batch:Tap3",
    "radius-detail": "ingest.decoders.radius.detail:RadiusDetail",
    "kannel": "ingest.decoders.kannel:Kannel",
    "smpp": "ingest.decoders.smpp:Smpp",
    "cucm-cdr": "ingest.decoders.cucm.cdr:CucmCdr",
    "cucm-cmr": "ingest.decoders.cucm.cdr:CucmCmr",
    "acme-csv": "ingest.decoders.acme.cdr:AcmeCsv",
    "broadworks-xml": "ingest.decoders.broadworks:BroadworksXml",
    "conntrack": "ingest.decoders.cgnat.conntrack:Conntrack",
    "cgnat-syslog": "ingest.decoders.cgnat.syslog:CgnatSyslog",
    "ipfix": "ingest.decoders.cgnat.ipfix:Ipfix",
    "mapping": "ingest.decoders.mapping:Mapping",
}


def decoder(name: str) -> Decoder:
    """Return the decoder of a format.

    Raises:
        ConfigurationError: there is no such format.
    """
    if name not in FORMATS:
        raise ConfigurationError(f"there is no format {name!r}", hint="`lagrum formats` lists them")
    module, _, attribute = FORMATS[name].partition(":")
    return cast(Decoder, getattr(import_module(module), attribute)())
