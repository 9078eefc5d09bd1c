"""The plugin contract, the loading of plugins, and the asking of them."""
