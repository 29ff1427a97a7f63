"""Labelled sounds: what lies on disk (`open_dataset`), and its waveforms, decoded once (`open_store`)."""
