#include "floodgate/shared_region.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace floodgate {
namespace {

std::string reason(int error) { return std::strerror(error); }

// Nobody who has the descriptor can shorten the file, which would make reading the mapping fatal.
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

// Gives the file all its pages; 0 or an error number. A signal undoes what was done so far and is no reason
// to give up, unless signals never let it finish.
int reserve(int fd, std::size_t bytes) {
  constexpr int kMostAttempts = 1000;
  int error = EINTR;
  for (int attempt = 0; attempt < kMostAttempts && error == EINTR; ++attempt) {
    error = posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  }
  return error;
}

}  // namespace

Result<std::shared_ptr<SharedRegion>> SharedRegion::map(std::string key, int fd, std::size_t bytes) {
  const int full = reserve(fd, bytes);
  void* base = full == 0 ? mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
  if (base == MAP_FAILED) {
    const int error = full != 0 ? full : errno;
    if (!key.empty()) shm_unlink(key.c_str());
    close(fd);
    return Status(Code::kUnavailable,
                  "cannot reserve " + std::to_string(bytes) + " bytes of shared memory: " + reason(error));
  }
  return std::shared_ptr<SharedRegion>(
      new SharedRegion(std::move(key), fd, static_cast<std::uint8_t*>(base), bytes));
}

Result<std::shared_ptr<SharedRegion>> SharedRegion::anonymous(std::size_t bytes) {
  if (bytes == 0) return Status(Code::kInvalidArgument, "a shared region needs at least one byte");
  const int fd = memfd_create("floodgate-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return Status(Code::kUnavailable, "cannot create shared memory: " + reason(errno));
  auto region = map("", fd, bytes);
  if (region.ok() && fcntl(fd, F_ADD_SEALS, kSeals) != 0) {
    return Status(Code::kUnavailable, "cannot seal shared memory: " + reason(errno));
  }
  return region;
}

Result<std::shared_ptr<SharedRegion>> SharedRegion::adopt(int fd, std::size_t bytes) {
  struct stat info {};
  const int seals = fcntl(fd, F_GET_SEALS);
  if (bytes == 0 || fstat(fd, &info) != 0 || static_cast<std::size_t>(info.st_size) < bytes || seals < 0 ||
      (seals & F_SEAL_SHRINK) == 0) {
    close(fd);
    return Status(Code::kInvalidArgument,
                  "the descriptor is no sealed shared memory of " + std::to_string(bytes) + " bytes");
  }
  return map("", fd, bytes);
}

Result<std::shared_ptr<SharedRegion>> SharedRegion::named(std::string key, std::size_t bytes) {
  if (bytes == 0) return Status(Code::kInvalidArgument, "a shared region needs at least one byte");
  if (key.size() < 2 || key[0] != '/' || key.find('/', 1) != std::string::npos) {
    return Status(Code::kInvalidArgument, "a region's key is a slash and a name");
  }
  // Between the creation and the lock a sweep may take the new file for a stale one; a link count of zero
  // tells, and the name is simply taken again.
  for (int attempt = 0; attempt < 16; ++attempt) {
    const int fd = shm_open(key.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0) {
      if (errno == EEXIST && attempt > 0) continue;  // the sweep has not unlinked it yet
      if (errno == EEXIST) return Status(Code::kInvalidArgument, "the region " + key + " exists already");
      return Status(Code::kUnavailable, "cannot create shared memory: " + reason(errno));
    }
    struct stat info {};
    if (flock(fd, LOCK_SH | LOCK_NB) == 0 && fstat(fd, &info) == 0 && info.st_nlink > 0) {
      return map(std::move(key), fd, bytes);
    }
    close(fd);
  }
  return Status(Code::kUnavailable, "cannot keep the shared memory region " + key);
}

SharedRegion::~SharedRegion() {
  device_.reset();  // it has pinned the pages
  munmap(base_, size_);
  if (!key_.empty()) shm_unlink(key_.c_str());
  close(fd_);
}

std::size_t sweep_stale_regions(const std::function<bool(std::string_view)>& ours) {
  DIR* directory = opendir("/dev/shm");
  if (directory == nullptr) return 0;
  std::size_t removed = 0;
  while (const dirent* entry = readdir(directory)) {
    const std::string_view name = entry->d_name;
    if (!ours(name)) continue;
    const std::string key = "/" + std::string(name);
    const int fd = shm_open(key.c_str(), O_RDWR, 0);
    if (fd < 0) continue;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && shm_unlink(key.c_str()) == 0) ++removed;
    close(fd);
  }
  closedir(directory);
  return removed;
}

}  // namespace floodgate
