"""Compilation of models for engines: conversion, comparison with eager float32, tuning, caching and export."""
