"""Asks MongoDB what there is."""

import time
from typing import Any

from pymongo.database import Database
from pymongo.errors import PyMongoError

from cloud.status.report import Mongo


def ask(database: Database[dict[str, Any]]) -> Mongo:
    """Counts of what is kept; never raises for a server that does not answer."""
    try:
        began_s = time.perf_counter()
        database.command("ping")
        round_trip_ms = (time.perf_counter() - began_s) * 1000
        return Mongo(
            True,
            twins=database["twins"].estimated_document_count(),
            silent_twins=database["twins"].count_documents({"connection.silent": True}),
            open_anomalies=database["anomalies"].count_documents({"status": "open"}),
            events=database["events"].estimated_document_count(),
            replayed_letters=database["dead_letters"].estimated_document_count(),
            round_trip_ms=round(round_trip_ms, 2),
        )
    except PyMongoError as error:
        return Mongo(False, type(error).__name__)
