"""The web face of modelwatch: pages, their charts and the small API that refreshes them."""
