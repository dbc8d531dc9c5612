"""FreeSWITCH: mod_json_cdr, mod_xml_cdr, mod_cdr_csv."""
