"""GraphQL: shapes and words only. A resolver makes one call into ``service``."""
