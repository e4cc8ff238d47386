"""The one page: fleet, ledger and live chart. Plain files, and the chart library out of the plotly package."""
