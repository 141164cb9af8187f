"""The files in compose/, as far as they can be checked without a container engine."""
import re
import shutil
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
HERE = Path(ROOT, "compose")
SECRET_NAME = re.compile(r"password|secret|key|token|credential|url", re.IGNORECASE)
SECRETS_FOLDER = "/run/secrets"
# docs/limits.md: what a gateway takes, and three times what its bodies and its responses may, by the defaults.
HTTP_MIB_MIN = 100 + 3 * (160 + 160)
SERVERS = {"postgres", "nats", "redis", "s3"}
SECONDS = 60


def run(*command):
    ended = subprocess.run(command, text=True, capture_output=True, timeout=SECONDS, cwd=ROOT)
    return None if ended.returncode == 0 else f"{' '.join(map(str, command))}: {ended.stdout}{ended.stderr}"


def wrong_compose():
    """Debian's docker-compose resolves the anchors and the files of settings, and checks the schema."""
    command = ["docker-compose", "--file", "compose/compose.yaml", "--file", "compose/webhook.yaml", "--profile", "monitoring", "config"]
    ended = subprocess.run(command, text=True, capture_output=True, timeout=SECONDS, cwd=ROOT)
    if ended.returncode != 0:
        yield f"{' '.join(command)}: {ended.stderr}"
        return
    config = yaml.safe_load(ended.stdout)
    for name, service in config["services"].items():
        yield from (f"compose.yaml: {name} {wrong}" for wrong in wrong_service(service, config))
        # Any process of the gateway may need a server that is not in here; nothing outside reaches the servers that are.
        networks = {"inside"} if name in SERVERS else {"inside", "outside"}
        if set(service["networks"]) != networks:
            yield f"compose.yaml: {name} is not on the networks {networks}"
    yield from wrong_secrets(config["secrets"])


def wrong_without(server, folder):
    """Somebody has a server elsewhere, and deletes the service as docs/deployment.md says."""
    text = Path(HERE, "compose.yaml").read_text()
    text = re.sub(rf"^  {server}:\n(    .*\n)+", "", text, flags=re.MULTILINE)
    text = re.sub(rf"^.*\b{server}: {{ condition: service_healthy }}.*\n", "", text, flags=re.MULTILINE)
    path = Path(folder, f"without-{server}.yaml")
    path.write_text(text)
    return run("docker-compose", "--project-directory", HERE, "--file", path, "config", "--quiet")


def wrong_service(service, config):
    ends = service.get("restart") == "no"
    if "test" not in service.get("healthcheck", {}) and not ends:
        yield "has no health check"
    if not (limit := service.get("mem_limit")):
        yield "has no memory limit"
    elif (service.get("environment") or {}).get("LEDGERWAY_MODE") == "http" and mebibytes(limit) < HTTP_MIB_MIN:
        yield f"has less memory than docs/limits.md asks for: {HTTP_MIB_MIN} MiB"
    if service.get("read_only") is not True:
        yield "can write to its root"
    if service.get("cap_drop") != ["ALL"] or "no-new-privileges:true" not in service.get("security_opt", []):
        yield "has capabilities"
    if not re.fullmatch(r"[1-9]\d*:\d+", str(service.get("user", ""))):
        yield "may run as root"
    if service.get("privileged") or service.get("network_mode") == "host":
        yield "is not confined"
    for name, value in (service.get("environment") or {}).items():
        if SECRET_NAME.search(name) and not str(value).startswith(SECRETS_FOLDER):
            yield f"has a secret in its environment: {name}"
        if "://" in str(value):
            yield f"has an address in its environment, which may have a password: {name}"
        path = str(value)
        if path.startswith(f"{SECRETS_FOLDER}/") and Path(path).name not in sources(service):
            yield f"reads {path}, which it is not given"
    for port in service.get("ports", []):
        if not str(port.get("published", port) if isinstance(port, dict) else port).startswith("127.0.0.1:"):
            yield f"listens for everybody: {port}"
    for source in sources(service):
        if source not in config["secrets"]:
            yield f"has an unknown secret {source}"


def mebibytes(limit):
    number, unit = re.fullmatch(r"(\d+)([mg])", str(limit)).groups()
    return int(number) * {"m": 1, "g": 1024}[unit]


def sources(service):
    return {each if isinstance(each, str) else each["source"] for each in service.get("secrets", [])}


def wrong_secrets(secrets):
    """Each is a file that compose/make-secrets draws, but for the webhook's address: there are none in the repository, and none by
    default."""
    drawn = Path(HERE, "make-secrets").read_text()
    for name, secret in secrets.items():
        if Path(secret["file"]) != Path(HERE, "secrets", name):
            yield f"the secret {name} is not in compose/secrets"
        if name != "alerts_url" and not re.search(rf"(draw|write)\b[^\n]*\b{re.escape(name)}\b", drawn):
            yield f"compose/make-secrets does not draw {name}"
    if tracked := subprocess.run(["git", "ls-files", "compose/secrets"], text=True, capture_output=True, cwd=ROOT).stdout:
        yield f"secrets are in the repository: {tracked}"


def wrong_made_secrets(folder):
    """Nobody else can read them, none is drawn twice, an address of one's own is kept, and two draws have nothing in common."""
    first, second = Path(folder, "first"), Path(folder, "second")
    for each in (first, second, first):
        if each.exists():
            Path(each, "database_url").unlink()
            Path(each, "database_url").write_text("postgres://gateway@db.internal/ledgerway\n")
        before = {path.name: path.read_text() for path in each.glob("*")}
        if wrong := run(Path(HERE, "make-secrets"), each):
            yield wrong
        if before and before != {path.name: path.read_text() for path in each.glob("*")}:
            yield "make-secrets changes secrets that are there"
    if first.stat().st_mode & 0o777 != 0o700:
        yield "others can enter the folder of the secrets"
    for path in first.iterdir():
        text = path.read_text().strip()
        if not text or text == Path(second, path.name).read_text().strip():
            yield f"{path.name} is empty, or the same for everybody"


def wrong_analyst():
    """The user of the topology has the limits that the page gives to each analyst."""
    limits = re.findall(r"^ALTER ROLE ada (SET .*;)$", Path(ROOT, "docs/sql.md").read_text(), re.MULTILINE)
    users = Path(HERE, "postgres/users.sql").read_text()
    if not limits:
        yield "docs/sql.md has no limits of analysts"
    yield from (f"users.sql lacks: ALTER ROLE analyst {limit}" for limit in limits if f"ALTER ROLE analyst {limit}" not in users)


def wrong_nats_users():
    """The users of the topology may do what the page asks for, and nothing else."""
    page, script = (subjects(Path(ROOT, path)) for path in ("docs/nats.md", "compose/make-secrets"))
    if not page or page != script:
        yield f"docs/nats.md gives the users {page}, and compose/make-secrets {script}"


def subjects(path):
    """What each user may publish and subscribe to."""
    lists = re.findall(r"^ *(publish|subscribe): \[(.*?)\]$", path.read_text(), re.MULTILINE | re.DOTALL)
    return [(verb, sorted(re.findall(r'"([^"]+)"', listed.replace(r"\$", "$")))) for verb, listed in lists]


def wrong_dockerfile():
    text = Path(HERE, "Dockerfile").read_text()
    for stage in re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]:
        name = stage.split("\n")[0]
        if "AS build" in name:
            continue
        if not re.search(r"^USER [1-9]\d*:[1-9]\d*$", stage, re.MULTILINE):
            yield f"Dockerfile: {name} runs as root"
    gateway = text.split("AS gateway")[1]
    if re.search(r"^RUN", gateway, re.MULTILINE) or re.search(r'^(CMD|ENTRYPOINT|HEALTHCHECK.*CMD) [^\[]*$', gateway, re.MULTILINE):
        yield "Dockerfile: the gateway's image needs a shell"
    if 'CMD ["/ledgerway", "health"]' not in gateway:
        yield "Dockerfile: the gateway's image has no health check"


def main_file(sites):
    return f"events {{}}\nhttp {{\n{sites}\n}}\npid /tmp/pid;\n"


def wrong_nginx(folder):
    """nginx resolves names and opens files: those of this machine stand for them. `resolve` needs nginx 1.27.3."""
    folder = Path(folder, "nginx")
    (folder / "ledgerway").mkdir(parents=True)
    for name in ("gateway.conf", "grpc.conf", "tls.conf"):
        text = Path(HERE, "nginx", name).read_text()
        text = re.sub(r"/etc/letsencrypt/live/\S+/fullchain.pem", str(ROOT / "tests/tls/certificate.pem"), text)
        text = re.sub(r"/etc/letsencrypt/live/\S+/privkey.pem", str(ROOT / "tests/tls/key.pem"), text)
        (folder / "ledgerway" / name).write_text(text)
    container = Path(HERE, "nginx/container.conf").read_text()
    container = re.sub(r"server [\w-]+:(\d+) resolve", r"server 127.0.0.1:\1", container)
    acme, site = (Path(HERE, "nginx", name).read_text() for name in ("acme.conf", "site.conf"))
    # The first certificate is got with acme.conf alone.
    for name, text in (("container.conf", container), ("acme.conf", main_file(acme)), ("site.conf", main_file(acme + site))):
        for path, other in (("/tmp/", f"{folder}/"), ("/dev/stdout", f"{folder}/log"), ("/dev/stderr", f"{folder}/log"),
                            ("/etc/nginx/ledgerway/", "/etc/nginx/"), ("/etc/nginx/", f"{folder}/ledgerway/")):
            text = re.sub(rf"(?<=\s){path}", other, text)
        # nginx opens what it listens on, and these ports may be taken.
        text = re.sub(r"listen (?:\[(::)\]:)?(\d+)", lambda found: f"listen unix:{folder}/{found[1] and 6}{found[2]}", text)
        (folder / name).write_text(text)
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        if wrong := run(program, "-t", "-q", "-c", folder / name, "-e", folder / "log"):
            yield wrong


def wrong_units(folder):
    """systemd checks that the program is there: another one stands for it."""
    folder, units = Path(folder, "units"), Path(HERE, "systemd")
    shutil.copytree(units, folder)
    for kind in ("http", "worker", "grpc"):
        shutil.copy(folder / "ledgerway@.service", folder / f"ledgerway@{kind}.service")
        yield from wrong_credentials(kind, units)
    (folder / "ledgerway@.service").unlink()
    for unit in sorted(folder.glob("*.service")):
        unit.write_text(unit.read_text().replace("/usr/local/bin/ledgerway", "/bin/true"))
        ended = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], text=True, capture_output=True, timeout=SECONDS)
        if ended.returncode != 0 or str(folder) in ended.stderr:
            yield f"systemd-analyze verify {unit.name}: {ended.stderr}"


def wrong_credentials(kind, units):
    """A service has the secrets that a container of its kind has, in the same variables."""
    settings = "".join(Path(HERE, "settings", f"{each}.env").read_text() for each in ("gateway", kind))
    wanted = set(re.findall(rf"^(\w+_FILE)={SECRETS_FOLDER}/(\w+)$", settings, re.MULTILINE))
    text = "".join(Path(units, each).read_text() for each in ("ledgerway@.service", f"ledgerway@{kind}.service.d/secrets.conf"))
    given = set(re.findall(r"^Environment=(\w+_FILE)=%d/(\w+)$", text, re.MULTILINE))
    loaded = set(re.findall(r"^LoadCredential=(\w+):/etc/ledgerway/secrets/\1$", text, re.MULTILINE))
    if given != wanted or loaded != {name for _, name in wanted}:
        yield f"systemd: ledgerway@{kind} is given {given} of the files {loaded}, and its container {wanted}"


def wrong(folder):
    yield from wrong_compose()
    yield from filter(None, (wrong_without(server, folder) for server in sorted(SERVERS)))
    yield from wrong_made_secrets(folder)
    yield from wrong_analyst()
    yield from wrong_nats_users()
    yield from wrong_dockerfile()
    yield from wrong_nginx(folder)
    yield from wrong_units(folder)
