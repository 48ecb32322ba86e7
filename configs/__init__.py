"""The ground floor: typed configuration, the YAML files it is read from, and the exception tree."""
