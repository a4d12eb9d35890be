"""The runs and artifacts of the simulated W&B server, and its answers to each GraphQL operation."""

import base64
import json

ENTITY = "lab"
HISTORY, SUMMARY, EVENTS = "wandb-history.jsonl", "wandb-summary.json", "wandb-events.jsonl"


class Run:
    """One run on the server."""

    def __init__(self, project, name):
        self.project, self.name = project, name
        self.files = {}  # by name: line by number
        self.uploads = {}  # by name: bytes
        self.config, self.tags, self.notes, self.shown = {}, [], None, name
        self.exit_code = None
        self.overwritten = []  # lines that were sent again with other content

    def lines(self, name):
        return self.files.setdefault(name, {})

    def rows(self):
        """Return every row of the history, in order."""
        return [json.loads(line) for _, line in sorted(self.lines(HISTORY).items())]

    def take(self, sent):
        for name, chunk in (sent.get("files") or {}).items():
            kept = self.lines(name)
            for number, line in enumerate(chunk["content"], chunk["offset"]):
                if name == HISTORY and kept.get(number, line) != line:
                    self.overwritten.append((number, kept[number], line))
                kept[number] = line
        if sent.get("complete"):
            self.exit_code = sent.get("exitcode")


class Answers:
    """A mixin of the server with one method for each operation, named ``_on_<operation>``."""

    def _on_Viewer(self, _):
        return {
            "viewer": {
                "id": "dXNlcg==",
                "entity": ENTITY,
                "username": "someone",
                "email": "someone@lab.test",
                "flags": "{}",
                "teams": {"edges": []},
            }
        }

    def _on_GetDefaultEntity(self, _):
        return self._on_Viewer(_)

    def _on_ServerFeaturesQuery(self, _):
        return {"serverInfo": {"features": []}}

    def _on_OrganizationCoreWeaveOrganizationID(self, _):
        return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}

    def _on_RunResumeStatus(self, asked):
        run = self.runs.get(asked["name"])
        model = {"name": asked["project"], "entity": {"name": ENTITY}, "bucket": None}
        if run is not None:
            history, events = run.lines(HISTORY), run.lines(EVENTS)
            summary = run.lines(SUMMARY)
            own = run.config.get("_wandb", {}).get("value", {})
            model["bucket"] = {
                "name": run.name,
                "displayName": run.shown,
                "summaryMetrics": summary[max(summary)] if summary else "{}",
                "logLineCount": 0,
                "historyLineCount": len(history),
                "eventsLineCount": len(events),
                "historyTail": json.dumps([history[max(history)]] if history else []),
                "eventsTail": json.dumps([events[max(events)]] if events else []),
                "config": json.dumps(run.config),
                "tags": run.tags,
                "notes": run.notes,
                "wandbConfig": json.dumps({"t": own["t"]} if "t" in own else {}),
            }
        return {"model": model}

    def _on_UpsertBucket(self, sent):
        inserted = sent["name"] not in self.runs
        run = self._ensure_run(sent["project"], sent["name"])
        run.config.update(json.loads(sent.get("config") or "{}"))
        run.tags = sent.get("tags") or run.tags
        run.notes, run.shown = sent.get("notes") or run.notes, sent.get("displayName") or run.shown
        project = {"id": "cHJvamVjdA==", "name": run.project, "entity": {"id": "ZW50", "name": ENTITY}}
        bucket = {
            "id": base64.b64encode(run.name.encode()).decode(),
            "name": run.name,
            "displayName": run.shown,
            "description": run.notes,
            "config": json.dumps(run.config),
            "sweepName": None,
            "project": project,
            "historyLineCount": len(run.lines(HISTORY)),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _on_RunState(self, _):
        return {"project": {"run": {"stopped": False}}}

    def _on_RunStoppedStatus(self, _):
        return {"project": {"run": {"stopped": False}}}

    def _on_CreateRunFiles(self, asked):
        files = [
            {"name": name, "uploadUrl": f"{self.url}/runs/{asked['run']}/{name}"} for name in asked["files"]
        ]
        return {"createRunFiles": {"runID": asked["run"], "uploadHeaders": [], "files": files}}

    def _on_Run(self, asked):
        run = self.runs.get(asked["name"])
        summary = run.lines(SUMMARY) if run else {}
        described = run and {
            "id": base64.b64encode(run.name.encode()).decode(),
            "projectId": "1",
            "name": run.name,
            "displayName": run.shown,
            "state": "running" if run.exit_code is None else "finished",
            "config": json.dumps(run.config),
            "tags": run.tags,
            "notes": run.notes,
            "summaryMetrics": summary[max(summary)] if summary else "{}",
            "systemMetrics": "{}",
            "historyLineCount": len(run.lines(HISTORY)),
            "historyKeys": {"lastStep": max((row["_step"] for row in run.rows()), default=-1)},
        }
        return {"project": {"run": described}}

    def _on_RunFiles(self, asked):
        uploads = self.run(asked["name"]).uploads
        nodes = [
            {"id": name, "name": name, "url": "", "directUrl": "", "sizeBytes": len(data), "md5": "x"}
            for name, data in uploads.items()
            if name in asked["fileNames"]
        ]
        files = {"edges": [{"node": node, "cursor": node["id"]} for node in nodes]}
        files["pageInfo"] = {"endCursor": None, "hasNextPage": False}
        return {"project": {"internalId": "1", "run": {"fileCount": len(uploads), "files": files}}}

    def _on_RunHistoryKeys(self, asked):
        return self._on_Run(asked)

    def _on_RunParquetHistory(self, asked):
        run = self.run(asked["runName"])
        return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": run.rows()}}}}

    def _on_HistoryPage(self, asked):
        rows = [
            row for row in self.run(asked["run"]).rows() if asked["minStep"] <= row["_step"] < asked["maxStep"]
        ]
        return {"project": {"run": {"history": [json.dumps(row) for row in rows[: asked["pageSize"]]]}}}

    def _on_ArtifactType(self, _):
        return {"project": {"artifact": None}}

    def _on_CreateArtifact(self, asked):
        sent = asked["input"]
        made = f"artifact-{len(self.artifacts)}"
        self.artifacts[made] = {"name": sent["artifactCollectionName"], "files": {}, "committed": False, **sent}
        return {
            "createArtifact": {
                "artifact": {"id": made, "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
            }
        }

    def _manifest(self, made):
        file = {"id": "f", "uploadUrl": f"{self.url}/artifacts/{made}/manifest", "uploadHeaders": []}
        return {"artifactManifest": {"id": made, "file": file}}

    def _on_CreateArtifactManifest(self, asked):
        return {"createArtifactManifest": self._manifest(asked["artifactID"])}

    def _on_UpdateArtifactManifest(self, asked):
        return {"updateArtifactManifest": self._manifest(asked["artifactManifestID"])}

    def _on_CreateArtifactFiles(self, asked):
        nodes = [
            {
                "storagePath": file["name"],
                "uploadUrl": f"{self.url}/artifacts/{file['artifactID']}/{file['name']}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": file["artifactID"]},
            }
            for file in asked["input"]["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def _on_CommitArtifact(self, asked):
        self.artifacts[asked["artifactID"]]["committed"] = True
        return {"commitArtifact": {"artifact": {"id": asked["artifactID"], "digest": "0"}}}

    def _on_ArtifactByID(self, asked):
        kept = self.artifacts[asked["id"]]
        project = {"id": "cA==", "internalId": "1", "name": "p", "entity": {"name": ENTITY}}
        described = {
            "__typename": "Artifact",
            "id": asked["id"],
            "artifactSequence": {"__typename": "ArtifactSequence", "name": kept["name"], "project": project},
            "versionIndex": 0,
            "artifactType": {"name": "model"},
            "description": None,
            "metadata": kept.get("metadata"),
            "ttlDurationSeconds": -2,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": None,
            "state": "COMMITTED",
            "size": 0,
            "digest": "0",
            "commitHash": "0",
            "fileCount": 1,
            "createdAt": "2026-01-01T00:00:00Z",
            "updatedAt": None,
            "aliases": [],
        }
        return {"artifact": described}
