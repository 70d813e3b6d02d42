-- The tenant rule: what the token says against what the request says, after every form of it has become one message.
-- METHODS maps a gRPC path to who may call it ("public", "tenant", "operator", "peer"); it is generated in front of this.

local function refuse(handle, status, reason)
  handle:streamInfo():dynamicMetadata():set("haas.edge", "reason", reason)
  handle:respond({[":status"] = status}, reason)
end

local function holds(list, value)
  if type(list) ~= "table" then return false end
  for _, held in ipairs(list) do
    if held == value then return true end
  end
  return false
end

function envoy_on_request(handle)
  local path = handle:headers():get(":path") or ""
  path = string.match(path, "^[^?]*")
  -- Health is open; reflection is guarded by the service itself.
  if string.sub(path, 1, 23) == "/grpc.health.v1.Health/" or string.sub(path, 1, 17) == "/grpc.reflection." then
    return
  end
  local caller = METHODS[path]
  if caller == nil then return refuse(handle, "404", "METHOD_UNKNOWN") end
  if caller == "public" then return end
  local metadata = handle:streamInfo():dynamicMetadata()
  local authn = metadata:get("envoy.filters.http.jwt_authn")
  local claims = authn and authn["jwt"]
  if claims == nil or claims["tenant_id"] == nil then return refuse(handle, "401", "TOKEN_MISSING") end
  local operator = claims["tenant_id"] == "*"
  if (caller == "operator") ~= operator then return refuse(handle, "403", "TENANT_MISMATCH") end
  if operator then return end
  local fields = metadata:get("envoy.filters.http.grpc_field_extraction")
  -- An absent or empty id passes here: the service answers TENANT_REQUIRED or PROJECT_REQUIRED.
  if fields == nil then return end
  for _, tenant in ipairs(fields["tenant_id"] or {}) do
    if tenant ~= "" and tenant ~= claims["tenant_id"] then return refuse(handle, "403", "TENANT_MISMATCH") end
  end
  for _, project in ipairs(fields["project_id"] or {}) do
    if project ~= "" and not holds(claims["projects"], project) then
      return refuse(handle, "403", "PROJECT_NOT_GRANTED")
    end
  end
end
