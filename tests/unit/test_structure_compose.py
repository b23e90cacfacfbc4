"""docker-compose.yml and the Dockerfile as far as they can be read without Docker: they fit each other and the code."""

import base64
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name for name, service in SERVICES.items() if "build" in service}
VENDORS = SERVICES.keys() - OURS
ONCE = {"topics", "people", "simulator"}
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

each_service = pytest.mark.parametrize("name", SERVICES)
each_of_ours = pytest.mark.parametrize("name", sorted(OURS))


def instructions(word: str) -> list[str]:
    return re.findall(rf"^{word} +(.*)$", DOCKERFILE, re.MULTILINE)


def test_it_is_the_whole_system():
    assert {"mqtt", "kafka", "mongo"} == VENDORS
    assert {"topics", "edge", "twins", "people", "simulator"} == OURS
    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["demo"]} == {
        "people",
        "simulator",
    }


@each_service
def test_an_image_has_a_tag_or_is_built_here(name):
    image = SERVICES[name]["image"]
    assert name in OURS or re.fullmatch(r"[a-z/-]+:\d+\.\d+\.\d+", image), image


def test_kafka_is_the_version_that_is_tested():
    pom = (ROOT / "local" / "servers" / "apache_kafka_files" / "pom.xml").read_text(encoding="utf-8")
    version = re.search(r"<kafka\.version>(.+?)</kafka\.version>", pom)
    assert version is not None
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version[1]}"


@each_service
def test_a_port_is_published_on_loopback_only(name):
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), port


def test_no_port_is_published_twice():
    published = [port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(set(published)) == len(published)


@each_service
def test_what_a_service_depends_on_is_there_and_can_fulfil_the_condition(name):
    for other, wanted in SERVICES[name].get("depends_on", {}).items():
        disabled = SERVICES[other].get("healthcheck", {}).get("disable", False)
        checked = "healthcheck" in SERVICES[other] or other in OURS  # the Dockerfile checks ours
        allowed = {
            "service_healthy": checked and not disabled,
            "service_completed_successfully": other in ONCE,
        }
        assert allowed[wanted["condition"]], other
        assert not SERVICES[other].get("profiles") or SERVICES[name].get("profiles") == SERVICES[other]["profiles"]


def test_dependencies_have_no_circle():
    def needs(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, above
        for other in SERVICES[name].get("depends_on", {}):
            needs(other, (*above, name))

    for name in SERVICES:
        needs(name, ())


def test_every_volume_is_declared_and_used():
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert used == COMPOSE["volumes"].keys()


def test_every_config_is_declared_and_used_and_its_file_is_there():
    used = {config["source"] for service in SERVICES.values() for config in service.get("configs", [])}
    assert used == COMPOSE["configs"].keys()
    for config in COMPOSE["configs"].values():
        assert (ROOT / config["file"]).is_file()


@pytest.mark.parametrize(
    ("name", "path"), [("mqtt", "/mosquitto/data"), ("kafka", "/var/lib/kafka/data"), ("mongo", "/data/db")]
)
def test_what_a_vendor_keeps_is_on_a_volume(name, path):
    assert [volume.split(":")[1] for volume in SERVICES[name]["volumes"]] == [path]


def test_the_broker_keeps_its_data_where_the_volume_is():
    conf = (ROOT / "docker" / "mosquitto.conf").read_text(encoding="utf-8")
    assert "\npersistence_location /mosquitto/data/\n" in conf
    (limits,) = re.findall(r"^include_dir (.*)$", conf, re.MULTILINE)
    assert SERVICES["mqtt"]["configs"][1]["target"].rpartition("/")[0] == limits
    assert SERVICES["mqtt"]["configs"][0]["target"] in SERVICES["mqtt"]["command"]
    assert SERVICES["kafka"]["environment"]["KAFKA_LOG_DIRS"] == "/var/lib/kafka/data"


@each_service
def test_nobody_is_root_or_may_become_it(name):
    user = SERVICES[name].get("user") or instructions("USER")[-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]


@each_service
def test_the_root_file_system_is_read_only(name):
    """But for Kafka's, whose image writes its configuration there when it starts."""
    assert SERVICES[name].get("read_only", False) == (name != "kafka")


@each_service
def test_logs_are_limited_and_services_restart(name):
    assert SERVICES[name]["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    assert SERVICES[name]["restart"] == ("on-failure:5" if name in ONCE else "unless-stopped")


def test_there_is_no_secret():
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8") + DOCKERFILE
    assert not re.search(r"passw|secret|token|://[^/\s]*@", text, re.IGNORECASE)


@each_of_ours
def test_a_service_of_ours_is_built_with_an_extra_that_has_its_command(name):
    extra = SERVICES[name]["build"]["args"]["EXTRA"]
    assert extra in PROJECT["optional-dependencies"]
    assert SERVICES[name]["build"]["context"] == "."
    assert SERVICES[name]["image"] == f"fleetfold-{extra}"
    target = PROJECT["scripts"][SERVICES[name]["command"][0]]
    assert target.partition(".")[0] == extra


@each_of_ours
def test_the_brokers_are_named_as_the_services_are(name):
    ports = {"mqtt": "1883", "kafka": "9092", "mongo": "27017"}
    environment = SERVICES[name]["environment"]
    for variable in environment.keys() & {"MQTT_URL", "KAFKA_BOOTSTRAP_SERVERS", "MONGODB_URI"}:
        address = re.search(r"(\w+):(\d+)", environment[variable].rpartition("://")[2])
        assert address is not None
        assert ports[address[1]] == address[2]


def test_the_replica_set_is_the_one_that_clients_name():
    command = SERVICES["mongo"]["command"]
    name = command[command.index("--replSet") + 1]
    assert SERVICES["twins"]["environment"]["MONGODB_URI"].endswith(f"?replicaSet={name}")
    check = SERVICES["mongo"]["healthcheck"]["test"][-1]
    assert f'_id: "{name}"' in check
    assert 'host: "mongo:27017"' in check


def test_kafka_creates_no_topic_by_accident_and_listeners_fit():
    environment = SERVICES["kafka"]["environment"]
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    listeners = dict(part.split("://") for part in environment["KAFKA_LISTENERS"].split(","))
    advertised = dict(part.split("://") for part in environment["KAFKA_ADVERTISED_LISTENERS"].split(","))
    protocols = dict(part.split(":") for part in environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    assert listeners.keys() == protocols.keys() == advertised.keys() | {environment["KAFKA_CONTROLLER_LISTENER_NAMES"]}
    for name, address in advertised.items():
        assert address.endswith(listeners[name])
    assert environment["KAFKA_CONTROLLER_QUORUM_VOTERS"] == f"1@kafka{listeners['CONTROLLER']}"
    assert len(base64.urlsafe_b64decode(environment["CLUSTER_ID"] + "==")) == 16, "a cluster id is a UUID in base64"
    published = SERVICES["kafka"]["ports"][0].split(":")
    assert advertised["HOST"] == f"{published[0]}:{published[1]}"


def test_the_agent_keeps_its_name_when_its_container_is_made_anew():
    """The name is its MQTT client id: with another one, what the broker queued for it would stay there."""
    assert re.fullmatch(r"[a-z]+", SERVICES["edge"]["environment"]["FLEETFOLD_EDGE__GATEWAY"])


def test_the_simulator_ends_and_its_files_are_limited():
    words = dict(word.split("=") for word in SERVICES["simulator"]["command"][2:])
    assert 0 < int(words["--duration-s"]) <= 3_600
    (limited,) = SERVICES["simulator"]["tmpfs"]
    assert limited == "/tmp:size=512m"
    assert words["--truth"].startswith("/tmp/")


def test_the_spool_is_on_a_volume():
    (mount,) = SERVICES["edge"]["volumes"]
    assert SERVICES["edge"]["environment"]["FLEETFOLD_EDGE__SPOOL__DIRECTORY"].startswith(mount.split(":")[1] + "/")


def test_volumes_of_ours_belong_to_the_user_of_the_image():
    """A new volume takes the owner of the directory that it covers."""
    uid = instructions("USER")[-1].partition(":")[0]
    (created,) = re.findall(r"install -d -o (\w+) -g \w+ (\S+)", DOCKERFILE)
    assert re.search(rf"useradd .*--uid {uid} .*\b{created[0]}\b", DOCKERFILE)
    for name in OURS:
        assert {volume.split(":")[1] for volume in SERVICES[name].get("volumes", [])} <= {created[1]}


def test_every_file_that_the_image_copies_is_there_and_not_ignored():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    copied = [line.split()[:-1] for line in instructions("COPY") if not line.startswith("--from=build")]
    sources = [source for line in copied for source in line]
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored, source
    assert ignored[ignored.index("*") :] == ["*", *(f"!{source}" for source in sources), "**/__pycache__"]


def test_the_image_installs_what_was_tested():
    (install,) = re.findall(r"pip install .*", DOCKERFILE)
    assert install == 'pip install -c constraints.txt ".[${EXTRA}]"'
    assert instructions("ARG") == ["EXTRA=edge"]
    minor = re.search(r"\d+\.\d+", PROJECT["requires-python"])
    assert minor is not None
    for image in instructions("FROM"):
        assert image.split()[0] == f"python:{minor[0]}-slim-bookworm"


def test_the_image_needs_every_package_of_the_distribution():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {line.split()[0] for line in instructions("COPY")} >= set(packages)


def test_the_health_check_asks_the_port_that_the_services_are_told():
    told = dict(re.findall(r"(FLEETFOLD_(?:EDGE|CLOUD)__HTTP__\w+)=(\S+)", DOCKERFILE))
    check = re.search(r"http://127\.0\.0\.1:(\d+)/healthz", DOCKERFILE)
    assert check is not None
    assert {value for name, value in told.items() if name.endswith("PORT")} == {check[1]}
    assert {value for name, value in told.items() if name.endswith("ADDRESS")} == {"0.0.0.0"}
    assert instructions("EXPOSE") == [check[1]]
    for name in OURS:
        for port in SERVICES[name].get("ports", []):
            assert port.endswith(f":{check[1]}")


@each_of_ours
def test_a_service_without_an_endpoint_has_no_health_check(name):
    assert SERVICES[name].get("healthcheck", {}).get("disable", False) == (name not in {"edge", "twins"})
