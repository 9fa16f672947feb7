"""Starts invocations and shows what has been stored of them."""

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from results.models import Result
from tasks import nap


@csrf_exempt
@require_POST
def start(request: HttpRequest) -> HttpResponse:
    """`POST /naps` with `seconds`: answers with the id at once."""
    handle = nap(float(request.POST["seconds"]))
    return JsonResponse({"id": handle.id}, status=202)


def show(_: HttpRequest, id: str) -> HttpResponse:
    """`GET /results/<id>`: from the table, whichever process it was that asked."""
    result: Any = get_object_or_404(Result, id=id)
    return JsonResponse({"state": result.state, "output": result.output, "failure": result.failure})


urlpatterns = [path("naps", start), path("results/<uuid:id>", show)]
