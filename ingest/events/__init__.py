"""Event tables, one TOML file a companion standard; `ingest.event_tables` reads them."""
