"""Forecasts and remaining life: from histories to a package that predicts, with intervals. See `docs/prediction.md`."""
