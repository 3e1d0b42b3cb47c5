"""What every checker asks for, and every token may have until its owner takes it away."""

SCOPE = "dns:write"
ADDRESS = "192.0.2.200"
