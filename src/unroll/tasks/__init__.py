"""Tasks: what recurrent layers do beside predicting a text, each trained by the same loop."""
