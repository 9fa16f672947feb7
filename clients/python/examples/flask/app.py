"""A Flask application that sends mail in the background and shows how far a long task has come.

    python app.py 5000

The broker is what `CELERIAC_BROKER` says; the modules `mail` and `basics` must be there. Tasks are apart: this
process neither runs them nor knows their secrets.
"""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any

from flask import (
    Flask,
    Response,
    flash,
    jsonify,
    redirect,
    render_template,
    request,
    session,
    stream_with_context,
    url_for,
)

from celeriac import (
    BrokerUnavailable,
    CeleriacError,
    Client,
    InvalidArgument,
    NoSuchModule,
    NoSuchTask,
    QueueFull,
    State,
    SyncHandle,
    TaskFailed,
    UnknownInvocation,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from werkzeug.wrappers import Response as BaseResponse

app = Flask(__name__)
app.config["SECRET_KEY"] = "top secret"  # noqa: S105 an example's

# One for the process: it connects at the first use, after the server has forked its workers.
client = Client()
send_mail = client.task("mail/send")
long_task = client.task("basics/sleep")


def status_of(error: CeleriacError) -> int:
    """The status that says what went wrong: an id that nobody knows, what was sent, or what it needs to run."""
    if isinstance(error, UnknownInvocation) or (isinstance(error, InvalidArgument) and error.what == "invocation id"):
        return 404
    if isinstance(error, InvalidArgument):
        return 400
    return 503 if isinstance(error, (BrokerUnavailable, NoSuchModule, NoSuchTask, QueueFull)) else 500


@app.errorhandler(CeleriacError)
def failed(error: CeleriacError) -> tuple[Response, int]:
    """Whatever a view did not expect, as JSON that the page shows."""
    return jsonify({"state": "unknown", "status": error.message}), status_of(error)


@app.get("/")
def index() -> str:
    """The page."""
    return render_template("index.html", email=session.get("email", ""))


@app.post("/")
def mail() -> BaseResponse | tuple[str, int]:
    """Sends a mail now or in a minute."""
    email = session["email"] = request.form["email"]
    message = {
        "from": "flask@example.com",
        "to": [email],
        "subject": "Hello from Flask",
        "text": "This is a test message, sent from a task in the background.",
    }
    try:
        if request.form["submit"] == "Send":
            handle = send_mail.delay(message)
            flash(f"Sending a mail to {email}")
        else:
            handle = send_mail.apply_async(message, countdown=60)
            flash(f"A mail to {email} will be sent in one minute")
    except CeleriacError as error:
        # Nothing was sent: the page says so, with the address still in its form.
        flash(f"No mail was sent: {error.message}", "failed")
        return render_template("index.html", email=email), status_of(error)
    session["mail"] = handle.id
    return redirect(url_for("index"))


@app.post("/longtask")
def start() -> tuple[Response, int] | tuple[Response, int, dict[str, str]]:
    """Starts the long task: `202` with the place where its state is."""
    try:
        seconds = float(request.form.get("seconds", 3))
    except ValueError:
        return jsonify({"state": "unknown", "status": "seconds is not a number"}), 400
    if not math.isfinite(seconds):
        return jsonify({"state": "unknown", "status": "seconds is not finite"}), 400
    handle = long_task.delay(seconds=seconds, steps=20)
    places = {"status": url_for("status", id=handle.id), "events": url_for("events", id=handle.id)}
    return jsonify(places), 202, {"Location": places["status"]}


@app.get("/status/<id>")
def status(id: str) -> Response:
    """The state of a task, by its id, from whichever process. One that nobody knows is no task that waits for ever."""
    return jsonify(state_of(client.handle(id)))


@app.get("/events/<id>")
def events(id: str) -> Response:
    """The same as a stream, as it happens: the browser does not ask again and again."""
    handle = client.handle(id)
    # Before the stream begins: then its status is sent, and cannot say any more that nobody knows this id.
    handle.status()

    def stream() -> Iterator[str]:
        for progress in handle.progress():
            yield sent({"state": "running", "current": progress.done, "total": progress.total})
        yield sent(state_of(handle))

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Response(stream_with_context(stream()), mimetype="text/event-stream", headers=headers)


def state_of(handle: SyncHandle[Any]) -> dict[str, Any]:
    """What the page shows of a task."""
    status = handle.status()
    current, total = (status.progress.done, status.progress.total) if status.progress else (0, 1)
    document = {"state": str(status.state), "current": current, "total": total, "status": str(status.state)}
    if status.state is State.SUCCEEDED:
        document |= {"status": "Done", "result": handle.result()}
    elif status.state.is_terminal:
        try:
            handle.result()
        except TaskFailed as error:
            document["status"] = error.message
    return document


def sent(document: dict[str, Any]) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(document)}\n\n"


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(sys.argv[1]), threaded=True)
