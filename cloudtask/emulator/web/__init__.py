"""The HTTP port: REST, keys, the admin routes and the page."""
