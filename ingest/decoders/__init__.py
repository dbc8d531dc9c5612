"""The formats: one module per producer, loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import Final, cast

from ingest.decoders.base import CHUNK_ROWS, RECORD_BYTES_MAX, Decoded, Decoder, Event
from schemas.errors import ConfigurationError

__all__ = ["CHUNK_ROWS", "FORMATS", "RECORD_BYTES_MAX", "Decoded", "Decoder", "Event", "decoder"]

FORMATS: Final[dict[str, str]] = {
    "csv": "ingest.decoders.canonical_csv:CanonicalCsv",
    "ndjson": "ingest.decoders.canonical_ndjson:CanonicalNdjson",
    "arrow": "ingest.decoders.canonical_arrow:CanonicalArrow",
    "parquet": "ingest.decoders.canonical_arrow:CanonicalParquet",
    "asterisk-csv": "ingest.decoders.asterisk:AsteriskCsv",
    "asterisk-custom": "ingest.decoders.asterisk:AsteriskCustom",
    "asterisk-cel": "ingest.decoders.asterisk_cel:AsteriskCel",
    "freeswitch-json": "ingest.decoders.freeswitch:FreeswitchJson",
    "freeswitch-xml": "ingest.decoders.freeswitch_xml:FreeswitchXml",
    "freeswitch-csv": "ingest.decoders.freeswitch_csv:FreeswitchCsv",
    "kamailio-acc": "ingest.decoders.kamailio:KamailioAcc",
    "kamailio-json": "ingest.decoders.kamailio_json:KamailioJson",
    "3gpp-32297": "ingest.decoders.threegpp_file:Threegpp32297",
    "3gpp-ber": "ingest.decoders.threegpp:ThreegppBer",
    "opensips-acc": "ingest.decoders.opensips:OpensipsAcc",
    "tap3": "ingest.decoders.tap3:Tap3",
    "radius-detail": "ingest.decoders.freeradius:RadiusDetail",
    "kannel": "ingest.decoders.kannel:Kannel",
    "smpp": "ingest.decoders.smpp:Smpp",
    "cucm-cdr": "ingest.decoders.cucm:CucmCdr",
    "cucm-cmr": "ingest.decoders.cucm:CucmCmr",
    "acme-csv": "ingest.decoders.acme:AcmeCsv",
    "broadworks-xml": "ingest.decoders.broadworks:BroadworksXml",
    "conntrack": "ingest.decoders.conntrack:Conntrack",
    "cgnat-syslog": "ingest.decoders.cgnat_syslog:CgnatSyslog",
    "ipfix": "ingest.decoders.ipfix:Ipfix",
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
