"""Theory against simulation: deviations in standard errors, and the report of them."""
