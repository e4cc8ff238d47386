"""Where readings are kept: the store's two sides (`store`) and the journal that commits (`journal`, `reader`)."""
